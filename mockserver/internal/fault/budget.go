package fault

// Budget is how often a fault is still to happen; negative: always.
type Budget int

// Take reports whether the fault is to happen now, and counts it.
func (b *Budget) Take() bool {
	if *b > 0 {
		*b--
		return true
	}
	return *b < 0
}
