package bench

// writers is how many transactions are open at once where publishing is measured.
const writers = 8
