"""Request data to typed values or problems. No Flask, no database."""
