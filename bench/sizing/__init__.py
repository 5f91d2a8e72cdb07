"""What a deployment of several nodes needs: a model on measured costs, a simulation of it, and their page."""
