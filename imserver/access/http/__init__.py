"""HTTP: one connection (`link`), and what is answered on it, a module a subject."""
