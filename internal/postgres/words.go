package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// What is kept to find an incident by. An incident of 10,000 alerts is found by
// the labels and words of the first of them.
const (
	maxSearchAlerts = 200
	maxSearchLabels = 200
	maxSearchWords  = 300
	maxRunbookWords = 2000
	maxWord         = 64  // runes; longer ones are cut, in a query as well
	maxLabel        = 200 // bytes, key and value; longer ones are cut, in a filter as well
)

// QueueSearchable makes an incident, which the batch has stored before, be found
// by more texts and alerts. What it was found by already stays; if nothing is
// new, or there is enough, nothing is written.
func QueueSearchable(b *pgx.Batch, incident string, texts []string, alerts ...ops.Alert) {
	labels := map[string]bool{}
	for _, a := range alerts {
		texts = append(texts, a.Title, a.Service, a.Host, a.Summary)
		for key, value := range a.Labels {
			if len(labels) < maxSearchLabels {
				labels[searchLabel(key, value)] = true
				texts = append(texts, value)
			}
		}
	}
	b.Queue(`INSERT INTO incident_search AS s (number, opened_at, status, severity, investigation, source_id, service, assignee, labels, words)
		SELECT number, opened_at, status, severity, investigation, source_id, service, assignee, $2, array_to_tsvector($3::text[]) FROM incidents WHERE id = $1
		ON CONFLICT (number) DO UPDATE SET
			labels = CASE WHEN s.labels @> excluded.labels OR cardinality(s.labels) >= $4 THEN s.labels
				ELSE ARRAY(SELECT DISTINCT l COLLATE "C" FROM unnest(s.labels || excluded.labels) AS l ORDER BY 1 LIMIT $4) END,
			words = CASE WHEN length(s.words) >= $5 THEN s.words ELSE s.words || excluded.words END
		WHERE NOT s.labels @> excluded.labels AND cardinality(s.labels) < $4
			OR length(s.words) < $5 AND length(s.words || excluded.words) > length(s.words)`,
		incident, sortedKeys(labels), searchWords(texts...), maxSearchLabels, maxSearchWords)
}

// searchable does the same at once.
func searchable(ctx context.Context, tx pgx.Tx, incident string, texts []string, alerts ...ops.Alert) error {
	b := &pgx.Batch{}
	QueueSearchable(b, incident, texts, alerts...)
	return tx.SendBatch(ctx, b).Close()
}

// queueSearch makes new incidents be found by their first alerts. What others
// have got is left to [DB.IndexSearch]: each change of a row writes all of its
// words to the index again, which costs more than storing an alert.
func queueSearch(b *pgx.Batch, known map[string]*storedIncident, incidents []*storedIncident, alerts []*storedAlert) {
	first, due := map[string][]ops.Alert{}, map[string]bool{}
	for _, a := range alerts {
		i := known[a.IncidentID]
		switch {
		case i == nil || !a.fresh && !a.changed:
		case i.fresh:
			first[i.ID] = append(first[i.ID], a.Alert)
		case a.changed || i.AlertCount <= maxSearchAlerts:
			due[i.ID] = true
		}
	}
	for _, i := range incidents {
		if i.fresh {
			QueueSearchable(b, i.ID, []string{i.Title, i.Service}, first[i.ID]...)
		}
	}
	if len(due) > 0 {
		// Another time than before: who indexes it now removes the row that it read.
		b.Queue(`INSERT INTO search_due (incident_id, at) SELECT id, clock_timestamp() FROM unnest($1::uuid[]) AS id
			ON CONFLICT (incident_id) DO UPDATE SET at = excluded.at`, sortedKeys(due))
	}
}

// searchBatch bounds what one call of [DB.IndexSearch] does at a time, and in all.
const searchBatch, searchCall = 50, 2000

// IndexSearch makes incidents be found by the alerts that they have got, at most
// [searchCall] incidents: those that have got none for the time quiet, and those
// that have waited for longer than most. Indexing costs more than storing alerts
// does, so an incident in a storm waits for more of them.
func (db *DB) IndexSearch(ctx context.Context, quiet, most time.Duration) error {
	var now time.Time
	if err := db.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return mapError(err)
	}
	for range searchCall / searchBatch {
		n, err := db.indexSearch(ctx, now.Add(-quiet), now.Add(-most))
		if err != nil {
			return fmt.Errorf("index search: %w", err)
		}
		if n < searchBatch {
			return nil
		}
	}
	return nil
}

func (db *DB) indexSearch(ctx context.Context, quiet, since time.Time) (n int, err error) {
	rows, err := db.pool.Query(ctx, `SELECT incident_id, at FROM search_due WHERE at < $1 OR since < $2 LIMIT $3`, quiet, since, searchBatch)
	if err != nil {
		return 0, mapError(err)
	}
	due := map[string]time.Time{}
	var id string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error { due[id] = at; return nil }); err != nil {
		return 0, mapError(err)
	}
	for _, id := range sortedKeys(due) {
		rows, err := db.pool.Query(ctx, `SELECT title, service, host, summary, labels FROM alerts WHERE incident_id = $1 ORDER BY first_seen, id LIMIT $2`,
			id, maxSearchAlerts)
		if err != nil {
			return 0, mapError(err)
		}
		alerts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a ops.Alert, err error) {
			err = row.Scan(&a.Title, &a.Service, &a.Host, &a.Summary, &a.Labels)
			return a, err
		})
		if err != nil {
			return 0, mapError(err)
		}
		b := &pgx.Batch{}
		b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`) // what a crash takes back is due again
		QueueSearchable(b, id, nil, alerts...)
		b.Queue(`DELETE FROM search_due WHERE incident_id = $1 AND at = $2`, id, due[id])
		b.Queue(`UPDATE search_due SET since = clock_timestamp() WHERE incident_id = $1`, id) // it has got more meanwhile
		if err := db.sendBatch(ctx, b); err != nil {
			return 0, mapError(err)
		}
	}
	return len(due), nil
}

// inheritSearch makes an incident be found by what another one is found by.
func inheritSearch(ctx context.Context, tx pgx.Tx, from, into string) error {
	_, err := tx.Exec(ctx, `UPDATE incident_search AS s SET
			labels = ARRAY(SELECT DISTINCT l COLLATE "C" FROM unnest(s.labels || f.labels) AS l ORDER BY 1 LIMIT $3),
			words = CASE WHEN length(s.words) >= $4 THEN s.words ELSE s.words || f.words END
		FROM incident_search f JOIN incidents fi ON fi.number = f.number, incidents si
		WHERE fi.id = $1 AND si.id = $2 AND s.number = si.number`, from, into, maxSearchLabels, maxSearchWords)
	return err
}

// searchLabel is how a label is kept.
func searchLabel(key, value string) string {
	label := key + ":" + value
	if len(label) > maxLabel {
		label = strings.ToValidUTF8(label[:maxLabel], "")
	}
	return label
}

// searchWords gives the words that texts are found by, sorted, each once and at
// most maxSearchWords. Words are runs of letters and digits in lower case.
//
//   - One that is written together of several, such as db-main_1 or DiskFull,
//     is kept as it is and in its parts.
//   - A name with dots, such as db-1.example.com, is also kept from each dot to
//     its end, so that any stretch of it is the beginning of a word.
//   - Scripts that are written without spaces give each pair of neighbouring characters.
func searchWords(texts ...string) []string { return wordsOf(maxSearchWords, texts...) }

// wordsOf gives the first words, at most most of them.
func wordsOf(most int, texts ...string) []string {
	found := map[string]bool{}
	add := func(word string) {
		if word != "" && len(found) < most {
			found[word] = true
		}
	}
	for _, text := range texts {
		if len(found) == most {
			break
		}
		for _, piece := range pieces(text) {
			if unspaced(piece) {
				for i := range piece {
					add(string(piece[i:min(i+2, len(piece))]))
				}
				continue
			}
			for {
				add(lower(piece))
				dot := slices.Index(piece, '.')
				if dot < 0 {
					break
				}
				addParts(piece[:dot], add)
				piece = piece[dot+1:]
			}
			addParts(piece, add)
		}
	}
	return sortedKeys(found)
}

func addParts(piece []rune, add func(string)) {
	add(lower(piece))
	for _, part := range parts(piece) {
		add(lower(part))
	}
}

// searchQuery gives the tsquery for what somebody types: every word, the last
// one as the beginning of a word. It is empty if there is no word in it.
func searchQuery(text string) string {
	var terms []string
	all := pieces(text)
	for n, piece := range all {
		if unspaced(piece) {
			for i := range max(1, len(piece)-1) {
				terms = append(terms, lexeme(string(piece[i:min(i+2, len(piece))]), len(piece) == 1))
			}
			continue
		}
		unfinished := n == len(all)-1 && len(piece) > 1 && !strings.HasSuffix(text, " ")
		terms = append(terms, lexeme(lower(piece), unfinished || slices.Contains(piece, '.')))
	}
	slices.Sort(terms)
	return strings.Join(slices.Compact(terms), " & ")
}

// lexeme writes a word as tsquery takes it.
func lexeme(word string, prefix bool) string {
	out := "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(word) + "'"
	if prefix {
		out += ":*"
	}
	return out
}

// pieces splits a text at everything that is no letter, digit, hyphen,
// underscore or dot, and where a script begins or ends that is written without spaces.
func pieces(text string) (out [][]rune) {
	var now []rune
	end := func() {
		if word := []rune(strings.Trim(string(now), "-_.")); len(word) > 0 {
			out = append(out, word)
		}
		now = nil
	}
	for _, r := range text {
		switch {
		case !ofWord(r):
			end()
			continue
		case len(now) > 0 && joined(r) != joined(now[len(now)-1]):
			end()
		}
		now = append(now, r)
	}
	end()
	return out
}

// parts splits a piece at its hyphens and underscores, and where a capital
// letter follows a small one.
func parts(piece []rune) (out [][]rune) {
	from := 0
	for i, r := range piece {
		switch {
		case r == '-' || r == '_':
			out = append(out, piece[from:i])
			from = i + 1
		case i > from && unicode.IsUpper(r) && unicode.IsLower(piece[i-1]):
			out = append(out, piece[from:i])
			from = i
		}
	}
	return append(out, piece[from:])
}

func lower(word []rune) string {
	return strings.ToLower(string(word[:min(len(word), maxWord)]))
}

func unspaced(piece []rune) bool { return joined(piece[0]) }

// ofWord says whether r is no end of a word.
func ofWord(r rune) bool {
	if r < unicode.MaxLatin1 { // by far the most
		return r == '-' || r == '_' || r == '.' || unicode.IsLetter(r) || unicode.IsNumber(r)
	}
	return unicode.In(r, unicode.L, unicode.N, unicode.M)
}

// joined says whether r is of a script that is written without spaces. Thai, from
// U+0E00 on, is the first of them.
func joined(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}
