"""What the service tells over HTTP: recommendations, metrics, health, a live page. It runs in a process of its own."""
