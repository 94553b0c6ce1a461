//! What was published: claims in a DynamoDB table. Sends no metric.
