"""The bus on a Kafka cluster: topics, a producer and consumers on confluent-kafka, and the two ports."""
