"""Photos and landmarks in: reading, colour, resampling, landmark files, the detector."""
