package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s shared[int]
		world := map[string]int{"a": 1, "b": 2} // what there is; it changes
		began, goOn := make(chan []string, 10), make(chan error)
		find := func(ctx context.Context, keys []string) (map[string]int, error) {
			seen := map[string]int{}
			for _, k := range keys {
				if v, ok := world[k]; ok {
					seen[k] = v
				}
			}
			began <- keys
			return seen, <-goOn
		}
		type answer struct {
			v   int
			ok  bool
			err error
		}
		ask := func(ctx context.Context, key string) chan answer {
			c := make(chan answer, 1)
			go func() {
				v, ok, err := s.get(ctx, key, find)
				c <- answer{v, ok, err}
			}()
			synctest.Wait()
			return c
		}

		// The first has a statement of its own; who comes meanwhile shares the next.
		first := ask(t.Context(), "a")
		require.Equal(t, []string{"a"}, <-began)
		impatient, leave := context.WithCancel(t.Context())
		leader := ask(impatient, "b")
		second, third, nobody := ask(t.Context(), "a"), ask(t.Context(), "b"), ask(t.Context(), "c")
		gone := ask(impatient, "a")
		require.Empty(t, began)

		// What changes before a statement begins is in it, and what it has read is
		// not given to who asks later.
		world["a"] = 10
		leave()
		require.Error(t, (<-gone).err)
		goOn <- nil
		require.Equal(t, answer{1, true, nil}, <-first)
		require.Equal(t, []string{"b", "a", "c"}, <-began)
		late := ask(t.Context(), "b")
		delete(world, "b")
		goOn <- nil
		require.Equal(t, answer{10, true, nil}, <-second)
		require.Equal(t, answer{2, true, nil}, <-third)
		require.Equal(t, answer{0, false, nil}, <-nobody)
		<-leader // it did the work of all, though nobody waits for its own

		// One that fails, fails for those who shared it.
		require.Equal(t, []string{"b"}, <-began)
		failed := errors.New("away")
		goOn <- failed
		require.Equal(t, failed, (<-late).err)
		after := ask(t.Context(), "b")
		<-began
		goOn <- nil
		require.Equal(t, answer{0, false, nil}, <-after)
	})
}

func TestSharedByMany(t *testing.T) {
	t.Parallel()
	var s shared[string]
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprint(n, " ", i)
				v, ok, err := s.get(t.Context(), key, func(_ context.Context, keys []string) (map[string]string, error) {
					all := map[string]string{}
					for _, k := range keys {
						all[k] = k
					}
					return all, nil
				})
				if v != key || !ok || err != nil {
					t.Errorf("%q %t %v", v, ok, err)
				}
			}
		})
	}
	wg.Wait()
}
