"""Amazon SES: SendEmail with raw mail out, events by SNS or SQS back."""
