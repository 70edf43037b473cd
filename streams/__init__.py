"""Process: Kafka in, feature state and learners updated."""
