"""What losses keep in a model: memories, prototypes, queues, targets."""
