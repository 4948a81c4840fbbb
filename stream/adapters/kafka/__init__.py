"""Apache Kafka: consumer groups, dead-letter topics, producers; one module for each client library."""
