"""Looking into it: whatever one has in hand is found; one person traced, compared with Klaviyo, erased."""
