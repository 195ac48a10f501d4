"""What a step does to the weights: optimizers, schedules, averaged weights and mixed batches."""
