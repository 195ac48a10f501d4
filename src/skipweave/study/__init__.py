"""Train several networks under one recipe, and report which errs least for its cost."""
