"""One file a stage: compose steps of :mod:`builder.steps`, choose the folder and the executor; no logic of their own."""
