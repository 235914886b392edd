package postgres

import (
	"encoding/hex"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// uuidCodec sends ids, which are strings here, as the 16 bytes that they stand
// for. The driver by itself knows no binary form of them: for each list of ids it
// would first make an error that quotes them all, and then send a text, which
// PostgreSQL has to read.
type uuidCodec struct{ pgtype.UUIDCodec }

// PlanEncode implements [pgtype.Codec].
func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(string); ok && format == pgtype.BinaryFormatCode {
		return encodeID{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

type encodeID struct{}

// errNoUUID lets the driver send the text as it is, and PostgreSQL judge it.
var errNoUUID = errors.New("not a UUID")

// Encode implements [pgtype.EncodePlan].
func (encodeID) Encode(value any, buf []byte) ([]byte, error) {
	id, ok := value.(string)
	if !ok || len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return nil, errNoUUID
	}
	for _, part := range []string{id[:8], id[9:13], id[14:18], id[19:23], id[24:]} {
		n := len(buf)
		buf = append(buf, part[:len(part)/2]...)
		if _, err := hex.Decode(buf[n:], []byte(part)); err != nil {
			return nil, errNoUUID
		}
	}
	return buf, nil
}

// registerUUIDs teaches a new connection to use the codec.
func registerUUIDs(c *pgx.Conn) {
	one := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	c.TypeMap().RegisterType(one)
	c.TypeMap().RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: one}})
}
