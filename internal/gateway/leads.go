package gateway

import (
	"context"
	"maps"

	"github.com/akmatori/akmatori/internal/ops"
)

// leads judges where the path of a call has led: the host says so once it has
// opened the file, and shows nothing of it before the answer. What was allowed
// is the path as it was written, so another one is judged as a call of its own;
// and people, who have not seen it, have not allowed it either.
func (g *Gateway) leads(ctx context.Context, r request, v verdict) func(path string) error {
	written := v.args.String("path")
	return func(path string) error {
		if path == written {
			return nil
		}
		args := maps.Clone(v.args)
		args["path"] = path
		r.raw = args.Canonical()
		there, err := g.decide(ctx, r, found{})
		switch {
		case err != nil:
			return err
		case there.refusal != "":
			return ops.Errorf(ops.CodeForbidden, "%s leads to %s. %s", written, path, there.refusal)
		case there.asks:
			return ops.Errorf(ops.CodeForbidden, "%s leads to %s, which the rules do not allow without asking: ask for that path itself", written, path)
		}
		return nil
	}
}
