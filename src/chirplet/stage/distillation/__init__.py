"""What distillation needs: teachers, a student, its data and its baseline."""
