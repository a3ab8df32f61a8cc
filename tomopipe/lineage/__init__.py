"""Where every result comes from: written beside it by each verb, checked, shown and exported."""
