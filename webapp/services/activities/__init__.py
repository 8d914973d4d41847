"""What the platform tells us: accepted, routed, with the deliveries it owes; and the API's description."""
