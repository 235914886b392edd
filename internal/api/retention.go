package api

import "context"

// deleteExpired deletes what is kept no longer, and says so: somebody may look
// for it.
func (s *API) deleteExpired(ctx context.Context) error {
	deleted, err := s.db.DeleteExpired(ctx, s.keep)
	for what, n := range deleted {
		if n > 0 {
			s.log.Info("deleted what has been kept long enough", "what", what, "rows", n)
		}
	}
	return err
}
