"""Other libraries' learners, each a small class behind one contract, so that one loop measures them all."""
