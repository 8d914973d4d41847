"""What is shared: events, fields, custom properties, test events, syncs of existing people."""
