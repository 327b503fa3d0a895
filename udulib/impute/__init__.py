"""Complete a matrix: rank, ridge and means are chosen by entries that are held out."""
