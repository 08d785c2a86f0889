"""What a caller sees, embedded or remote: verbs, requests, answers. Opens nothing and reads no clock."""
