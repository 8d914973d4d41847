"""Our links to Klaviyo accounts: their life, their settings, and the live table that shows them."""
