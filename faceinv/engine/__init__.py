"""What an engine is: records, the abstract classes, the registry, and what engines share."""
