"""neurodeploy: deploy trained spiking networks, and prove that they still compute the same."""
