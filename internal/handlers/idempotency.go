package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/retention"
)

// storedAnswer is what POST /orders said, and says again for the same key.
type storedAnswer struct {
	orderID  string
	response []byte
}

// idempotencyKey reads the header of the IETF's draft
// draft-ietf-httpapi-idempotency-key-header: a quoted string. Many clients leave
// the quotes out, which is accepted. Without the header it is empty.
func idempotencyKey(header http.Header) (string, error) {
	values := header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(values[0])
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	outside := func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, outside) {
		return "", newProblem(http.StatusBadRequest, `Idempotency-Key must be one string of 1 to 255 printable ASCII characters without '"' and '\', such as "8e03978e-40d5-43dd-bc93-6894a57f9324"`)
	}
	return key, nil
}

// claimKey stores the answer under the key and returns true. If the key is
// taken it returns false and turns answer into the earlier one, or returns
// errKeyReused if that was to another body. A request with the same key that is
// under way is waited for: the insert blocks until that one has committed or
// rolled back.
func claimKey(ctx context.Context, tx database.Tx, key string, body []byte, answer *storedAnswer, now time.Time) (claimed bool, err error) {
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	inserted, err := exec(ctx, tx, `
		INSERT INTO idempotency_keys (key, digest, order_id, response, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (key) DO NOTHING`, key, digest, answer.orderID, string(answer.response), now)
	if err != nil {
		return false, fmt.Errorf("claim idempotency key: %w", err)
	}
	if inserted == 1 {
		return true, nil
	}
	var known string
	err = tx.QueryRowContext(ctx, `SELECT digest, order_id, response FROM idempotency_keys WHERE key = $1`, key).
		Scan(&known, &answer.orderID, &answer.response)
	if err != nil {
		return false, fmt.Errorf("read idempotency key: %w", err)
	}
	if known != digest {
		return false, errKeyReused
	}
	return false, nil
}

// IdempotencyKeys is the job that forgets keys after a day.
func IdempotencyKeys() retention.Job {
	return retention.Job{Name: "idempotency_keys", Keep: 24 * time.Hour, Delete: deleteKeys}
}

func deleteKeys(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error) {
	return exec(ctx, tx, `
		DELETE FROM idempotency_keys WHERE key IN (
			SELECT key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, before, limit)
}
