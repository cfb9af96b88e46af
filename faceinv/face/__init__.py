"""What a face is: the model, its state, its layout as unknowns, camera, light, mesh and landmarks."""
