"""What makes a decoded sequence a search query: prefixes, cleaning, fallback."""
