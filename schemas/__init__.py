"""The wire contracts of Tokenmill: events, control records, rated records, and how each is written to a Kafka record."""
