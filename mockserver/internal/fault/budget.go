package fault

// Budget is how often a fault is still to happen; negative: always.
type Budget int

func (b *Budget) Take() bool {
	if *b > 0 {
		*b--
		return true
	}
	return *b < 0
}
