"""What the API says of itself: an OpenAPI 3.1 document and a page made of it."""
