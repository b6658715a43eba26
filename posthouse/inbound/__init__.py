"""Mail that comes in: bounces and complaints about what SMTP relays took."""
