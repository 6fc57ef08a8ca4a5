package envelopes

// AuditType is the type of an audit event. The set is open: an application may define its own.
type AuditType string

// The audit types known to every consumer.
const (
	UserLogin            AuditType = "user.login"
	UserLogout           AuditType = "user.logout"
	UserLoginFailed      AuditType = "user.login.failed"
	PermissionDenied     AuditType = "permission.denied"
	RoleChanged          AuditType = "role.changed"
	DataAccessed         AuditType = "data.accessed"
	DataCreated          AuditType = "data.created"
	DataUpdated          AuditType = "data.updated"
	DataDeleted          AuditType = "data.deleted"
	DataExported         AuditType = "data.exported"
	SecurityViolation    AuditType = "security.violation"
	CertificateIssued    AuditType = "certificate.issued"
	CertificateRevoked   AuditType = "certificate.revoked"
	CertificateValidated AuditType = "certificate.validated"
	ServiceStarted       AuditType = "service.started"
	ServiceStopped       AuditType = "service.stopped"
	ServiceError         AuditType = "service.error"
	ConfigurationChanged AuditType = "configuration.changed"
	TrustAnchored        AuditType = "trust.anchored"
	TrustRevoked         AuditType = "trust.revoked"
	ComplianceChecked    AuditType = "compliance.checked"
	ComplianceViolation  AuditType = "compliance.violation"
)

// NotificationType is the type of a notification event. The set is open.
type NotificationType string

// The notification types known to every consumer.
const (
	UserWelcome                NotificationType = "user.welcome"
	UserPasswordReset          NotificationType = "user.password.reset"
	UserAccountLocked          NotificationType = "user.account.locked"
	CertificateExpiring        NotificationType = "certificate.expiring"
	CertificateExpired         NotificationType = "certificate.expired"
	CertificateRenewalRequired NotificationType = "certificate.renewal.required"
	SystemMaintenance          NotificationType = "system.maintenance"
	SystemAlert                NotificationType = "system.alert"
	BackupCompleted            NotificationType = "backup.completed"
	BackupFailed               NotificationType = "backup.failed"
	ComplianceReviewDue        NotificationType = "compliance.review.due"
	AuditRequired              NotificationType = "audit.required"
	PolicyUpdated              NotificationType = "policy.updated"
)

// Priority is how urgent an event is. The set is closed when publishing; a decoded event keeps what it
// came with.
type Priority string

// The priorities. The default is high for notifications and normal for every other kind.
const (
	PriorityLow      Priority = "low"
	PriorityNormal   Priority = "normal"
	PriorityHigh     Priority = "high"
	PriorityCritical Priority = "critical"
)

// RiskLevel is how risky the audited action was. The set is closed when publishing. Default: low.
type RiskLevel string

// The risk levels.
const (
	RiskLow      RiskLevel = "low"
	RiskMedium   RiskLevel = "medium"
	RiskHigh     RiskLevel = "high"
	RiskCritical RiskLevel = "critical"
)

// RecipientType is who a notification is for. The set is closed when publishing.
type RecipientType string

// The recipient types.
const (
	RecipientUser   RecipientType = "user"
	RecipientAdmin  RecipientType = "admin"
	RecipientSystem RecipientType = "system"
)

// Channel is a way to reach a recipient. The set is closed when publishing. Default: email.
type Channel string

// The channels.
const (
	ChannelEmail   Channel = "email"
	ChannelSMS     Channel = "sms"
	ChannelPush    Channel = "push"
	ChannelWebhook Channel = "webhook"
)

// Kind is which of the four an event is.
type Kind uint8

// The kinds.
const (
	KindCustom Kind = iota
	KindAudit
	KindNotification
	KindDomain
)

// String returns the kind as it stands in logs and metric labels.
func (k Kind) String() string {
	switch k {
	case KindAudit:
		return "audit"
	case KindNotification:
		return "notification"
	case KindDomain:
		return "domain"
	default:
		return "custom"
	}
}
