package ops

import "time"

// View is a filter of the list of incidents under a name.
type View struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"` // of one owner's, no two are the same
	Filter ViewFilter `json:"filter"`
	// Shared views are seen by everybody who sees incidents, and changed by their owner alone.
	Shared    bool      `json:"shared"`
	Owner     string    `json:"owner"` // a user's name
	Mine      bool      `json:"mine"`  // it is the asking user's own
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ViewFilter is what a view selects, in the words of the list's own parameters;
// what is empty selects all.
type ViewFilter struct {
	Status        string   `json:"status,omitempty" maxLength:"100" doc:"One or several, separated by commas."`
	Severity      string   `json:"severity,omitempty" maxLength:"100" doc:"One or several, separated by commas."`
	Investigation string   `json:"investigation,omitempty" maxLength:"200" doc:"States of a run, separated by commas; none is never investigated."`
	Source        string   `json:"source,omitempty" maxLength:"1000" doc:"Ids of sources, separated by commas; none is opened by hand."`
	Service       []string `json:"service,omitempty" maxItems:"50"`
	Assignee      []string `json:"assignee,omitempty" maxItems:"50"`
	Label         []string `json:"label,omitempty" maxItems:"20" doc:"key:value"`
	Text          string   `json:"q,omitempty" maxLength:"200" doc:"Words, as in the search box."`
}
