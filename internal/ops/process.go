package ops

import "time"

// Process is what one process of a deployment said last. It names no address.
type Process struct {
	Kind      string    `json:"kind"` // api, gateway or proxy
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
	// Alive says that it was heard of within the time that it should have been.
	Alive bool `json:"alive"`
	ProcessDetail
}

// ProcessDetail is what an api says of itself: the workers that are connected to
// it, and what waits in its memory.
type ProcessDetail struct {
	Workers []WorkerState `json:"workers,omitempty"`
	// Deliveries wait to be stored, of at most Room; a sender that finds no room
	// is told to come again.
	Deliveries int `json:"deliveries_waiting,omitempty"`
	Room       int `json:"deliveries_room,omitempty"`
	// Configuration is of the file that it was started with, if there is one.
	Configuration *Configuration `json:"configuration,omitempty"`
}

// Configuration is what is in force of a configuration file.
type Configuration struct {
	Version  string    `json:"version"` // by the file's content
	LoadedAt time.Time `json:"loaded_at"`
	// FailedAt is when a newer file was not taken, and Problem why; then the one
	// of Version stays in force.
	FailedAt time.Time `json:"failed_at,omitzero"`
	Problem  string    `json:"problem,omitempty"`
}

// WorkerState is a connected worker of an api.
type WorkerState struct {
	Name  string `json:"name"`
	Build string `json:"build,omitempty"`
	Slots int    `json:"slots"`
	Runs  int    `json:"runs"`
}
