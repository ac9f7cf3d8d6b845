"""Ways to compute the student's logits; :mod:`~builder.student.engines.choosing` takes the fastest that works here."""
