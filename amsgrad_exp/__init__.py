"""Does an optimizer converge where it provably should? The experiment of Reddi, Kale and Kumar (2018)."""
