"""Tables of a session: loaded from CSV, asked in SQL, drawn as a chart."""
