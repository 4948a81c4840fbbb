"""What happens to an event: read, test, learn, resize, checkpoint."""
