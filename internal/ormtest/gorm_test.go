package ormtest_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
)

// Account is a row of users.
type Account struct {
	ID    string
	Email string
}

// TableName implements GORM's Tabler.
func (Account) TableName() string { return "users" }

// GORMService has models.
type GORMService struct {
	db  *gorm.DB
	bus *bus.Bus
}

// Register is one transaction.
func (s GORMService) Register(ctx context.Context, id, email string) error {
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&Account{ID: id, Email: email}).Error; err != nil {
			return err
		}
		if _, err := UserCreated.Publish(ctx, s.bus.InTx(gormTx(tx)), id, User{Email: email}); err != nil {
			return err
		}
		return check(email)
	})
}

// gormTx returns the transaction that GORM is in, nil for none, which the Bus refuses.
func gormTx(db *gorm.DB) bus.Tx {
	tx, _ := db.Statement.ConnPool.(bus.Tx)
	return tx
}

// joinGORM returns GORM over the transaction of Transact, which begins and ends it.
func joinGORM(ctx context.Context, db *gorm.DB, tx *sql.Tx) *gorm.DB {
	joined := db.Session(&gorm.Session{Context: ctx, NewDB: true})
	joined.Statement.ConnPool = tx
	return joined
}

func openGORM(t *testing.T, dsn string, config *gorm.Config) (*gorm.DB, *bus.Bus) {
	t.Helper()
	config.Logger = logger.Discard
	db, err := gorm.Open(postgres.Open(dsn), config)
	require.NoError(t, err)
	pool, err := db.DB() // pgx's driver
	require.NoError(t, err)
	t.Cleanup(func() { _ = pool.Close() })
	return db, newBus(t, pool)
}

func TestGORM(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config gorm.Config
	}{
		{"as it is", gorm.Config{}},
		{"with prepared statements", gorm.Config{PrepareStmt: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, dsn := database(t)
			gormDB, b := openGORM(t, dsn, &test.config)
			registers(t, db, GORMService{gormDB, b})
		})
	}
}

func TestGORMOutsideATransactionIsRefused(t *testing.T) {
	t.Parallel()
	_, dsn := database(t)
	db, b := openGORM(t, dsn, &gorm.Config{})
	_, err := UserCreated.Publish(t.Context(), b.InTx(gormTx(db)), "user-1", User{})
	require.ErrorContains(t, err, "the transaction given is nil")
}

func TestGORMJoinsTransact(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config gorm.Config
	}{
		{"as it is", gorm.Config{}},
		{"with prepared statements", gorm.Config{PrepareStmt: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, dsn := database(t)
			gormDB, b := openGORM(t, dsn, &test.config)
			registers(t, db, joining{gormDB, b})
		})
	}
}

type joining struct {
	db  *gorm.DB
	bus *bus.Bus
}

func (s joining) Register(ctx context.Context, id, email string) error {
	return s.bus.Transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := joinGORM(ctx, s.db, tx).Create(&Account{ID: id, Email: email}).Error; err != nil {
			return err
		}
		if _, err := UserCreated.Publish(ctx, s.bus, id, User{Email: email}); err != nil {
			return err
		}
		return check(email)
	})
}

// TestGORMsNestedTransactionIsASavepoint: with DisableNestedTransaction it is none, and what was written
// before the error stays.
func TestGORMsNestedTransactionIsASavepoint(t *testing.T) {
	t.Parallel()
	for _, disabled := range []bool{false, true} {
		db, dsn := database(t)
		gormDB, b := openGORM(t, dsn, &gorm.Config{DisableNestedTransaction: disabled})
		broken := errors.New("broken")
		require.NoError(t, gormDB.Transaction(func(tx *gorm.DB) error {
			_, err := UserCreated.Publish(t.Context(), b.InTx(gormTx(tx)), "outer", User{})
			require.NoError(t, err)
			require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error {
				_, err := UserCreated.Publish(t.Context(), b.InTx(gormTx(tx)), "inner", User{})
				require.NoError(t, err)
				return broken
			}), broken)
			return nil
		}))
		want := []bustest.Expectation{bustest.Like(UserCreated.New("outer", User{}))}
		if disabled {
			want = append(want, bustest.Like(UserCreated.New("inner", User{})))
		}
		bustest.RequireExactly(t, bustest.OutboxOf(t, db), want...)
	}
}

// Hooked publishes from GORM's hook, in the transaction that GORM makes of every write.
type Hooked struct {
	ID, Email string
	bus       *bus.Bus
}

// TableName implements GORM's Tabler.
func (*Hooked) TableName() string { return "users" }

// AfterCreate implements GORM's hook.
func (h *Hooked) AfterCreate(tx *gorm.DB) error {
	_, err := UserCreated.Publish(tx.Statement.Context, h.bus.InTx(gormTx(tx)), h.ID, User{Email: h.Email})
	return err
}

func TestGORMsHooks(t *testing.T) {
	t.Parallel()
	db, dsn := database(t)
	gormDB, b := openGORM(t, dsn, &gorm.Config{})
	require.NoError(t, gormDB.Create(&Hooked{ID: "user-1", Email: "ada@example.com", bus: b}).Error)
	bustest.RequireEvent(t, bustest.OutboxOf(t, db), UserCreated, "user-1")

	skipping := gormDB.Session(&gorm.Session{SkipDefaultTransaction: true})
	require.ErrorContains(t, skipping.Create(&Hooked{ID: "user-2", Email: "grace@example.com", bus: b}).Error, "the transaction given is nil")
	users(t, db, "user-1", "user-2") // and there is no event
}
