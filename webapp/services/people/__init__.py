"""What is known of people, and in which accounts they are."""
