"""For whoever runs this: queues, Klaviyo's revisions and limits, a support bundle."""
