"""Operations as JSON, for any transport: bodies, answers, errors, and the table of operations."""
