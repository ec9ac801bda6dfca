"""Data beside the home: a prefix of plain objects in a bucket, and a folder that is kept in step with it."""
