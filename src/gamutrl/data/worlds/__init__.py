"""Generated tasks with exact answers: one renderer and one colour table under all."""
