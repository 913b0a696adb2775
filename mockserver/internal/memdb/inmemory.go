package memdb

import (
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// inMemory refuses what only PostgreSQL can do of a query.
func inMemory(q *project.Query) error {
	for _, item := range q.Selects {
		if item.Path != nil {
			return noPaths(item.Column)
		}
	}
	for _, term := range q.Order {
		if term.Path != nil {
			return noPaths(term.Column)
		}
	}
	for _, n := range q.Where {
		if err := conditionInMemory(n); err != nil {
			return err
		}
	}
	return nil
}

func noPaths(column string) error {
	return project.NotImplemented("this server has no JSON paths such as " + column + "->key")
}

func conditionInMemory(n *project.Condition) error {
	for _, part := range n.Parts {
		if err := conditionInMemory(part); err != nil {
			return err
		}
	}
	switch {
	case n.Path != nil:
		return noPaths(n.Column)
	case project.Operators[n.Op].Lang, project.Operators[n.Op].Contains:
		return project.NotImplemented("this server has no operator " + n.Op)
	case n.Each != "":
		return project.NotImplemented("this server has no operator " + n.Op + "(" + n.Each + ")")
	}
	return nil
}
