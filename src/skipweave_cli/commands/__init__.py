"""One file per command. These import skipweave, and torch with it, so the parser imports only the one that runs."""
