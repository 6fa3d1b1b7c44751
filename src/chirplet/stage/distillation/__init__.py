"""The parts of distillation: teachers, student, data and label-only baseline."""
