import type { ReactNode } from "react";

/** Line icons on a 16 px grid, drawn here so that the page loads nothing from elsewhere. */
function icon(paths: ReactNode) {
  return function Icon({ size = 16 }: { size?: number }) {
    return (
      <svg
        width={size}
        height={size}
        viewBox="0 0 16 16"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.5"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
        focusable="false"
      >
        {paths}
      </svg>
    );
  };
}

export const IncidentIcon = icon(<path d="M8 2.5 14 13H2L8 2.5ZM8 7v2.5M8 11.4v.1" />);
export const SourceIcon = icon(<path d="M3 11a5 5 0 0 1 10 0M5.5 11a2.5 2.5 0 0 1 5 0M1.5 13.5h13M8 2.5V4M3 4.5l1 1M13 4.5l-1 1" />);
export const TargetIcon = icon(<path d="M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1" />);
export const KeyIcon = icon(<path d="M10.5 9.5a3.5 3.5 0 1 0-3.3-2.3L2.5 12v1.8h2.3v-1.6h1.6v-1.6l1-1a3.5 3.5 0 0 0 3.1-.1ZM11 5.4v.1" />);
export const ModelIcon = icon(<path d="M8 1.8 9.6 6 14 7.6 9.6 9.2 8 13.6 6.4 9.2 2 7.6 6.4 6 8 1.8Z" />);
export const ToolIcon = icon(<path d="M13.3 4.6a3.3 3.3 0 0 1-4.4 4L4.5 13a1.6 1.6 0 0 1-2.3-2.3l4.4-4.4a3.3 3.3 0 0 1 4-4.4L8.8 3.8l.5 2 2 .5z" />);
export const AgentIcon = icon(<path d="M3 6.5h10v6.7H3zM8 6.5V3.6M8 2.6v.1M5.8 9.4v.8M10.2 9.4v.8M1.4 8.6v2.4M14.6 8.6v2.4" />);
export const TokenIcon = icon(<path d="M5 4 2 8l3 4M11 4l3 4-3 4M9.2 3.2 6.8 12.8" />);
export const CopyIcon = icon(<path d="M5.5 5.5h7v8h-7zM3.5 10.5v-8h7" />);
export const CheckIcon = icon(<path d="m3 8.5 3.2 3.2L13 4.8" />);
export const DownloadIcon = icon(<path d="M8 2.5v7.2M5 7l3 3 3-3M2.8 13h10.4" />);
export const ChevronIcon = icon(<path d="m6 3.5 4.5 4.5L6 12.5" />);
export const BackIcon = icon(<path d="M10 3.5 5.5 8l4.5 4.5" />);
export const PlusIcon = icon(<path d="M8 3v10M3 8h10" />);
export const SearchIcon = icon(<path d="M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.4 10.4l3.1 3.1" />);
export const MenuIcon = icon(<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11" />);
export const CloseIcon = icon(<path d="m4 4 8 8M12 4l-8 8" />);
export const SunIcon = icon(<path d="M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7" />);
export const MoonIcon = icon(<path d="M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1Z" />);
export const AutoIcon = icon(<path d="M2 3h12v8H2zM6 13.5h4M8 11v2.5" />);
export const OutIcon = icon(<path d="M6.5 13.5h-4v-11h4M10 11l3-3-3-3M13 8H6" />);
export const DownIcon = icon(<path d="M8 3v10M4 9l4 4 4-4" />);
export const EyeIcon = icon(<path d="M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 9.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6Z" />);
export const TerminalIcon = icon(<path d="m3 4.5 3.5 3.5L3 11.5M8.5 12h5" />);
export const WrapIcon = icon(<path d="M2 3.5h12M2 8h9.5a2.2 2.2 0 0 1 0 4.5H9M2 12.5h3.5M10.8 10.6 9 12.5l1.8 1.7" />);
export const LinkIcon = icon(<path d="M6.5 9.5a2.8 2.8 0 0 0 4 0l2.2-2.2a2.8 2.8 0 0 0-4-4l-.8.8M9.5 6.5a2.8 2.8 0 0 0-4 0L3.3 8.7a2.8 2.8 0 0 0 4 4l.8-.8" />);

export const GroupIcon = icon(<path d="M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5H9zM5 7v2.5h6.5V7M8 9.5v1.5M5.8 11h4.5v2.5H5.8z" />);
export const MaintenanceIcon = icon(<path d="M8 14.2A6.2 6.2 0 1 0 8 1.8a6.2 6.2 0 0 0 0 12.4ZM6.5 5.5v5M9.5 5.5v5" />);
export const PeopleIcon = icon(<path d="M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM1.5 13.5a4.5 4.5 0 0 1 9 0M10.5 2.8a2.5 2.5 0 0 1 0 4.4M12 9.4a4.5 4.5 0 0 1 2.5 4.1" />);

export const MemoryIcon = icon(<path d="M4 2h8v12l-4-3-4 3zM6.3 5.5h3.4" />);
export const AuditIcon = icon(<path d="M4 1.8h8v12.4H4zM6.2 5h3.6M6.2 8h3.6M6.2 11h1.6" />);
export const ApproveIcon = icon(
  <>
    <path d="M8 1.8 13 3.7v4.1c0 3-2 5.3-5 6.4-3-1.1-5-3.4-5-6.4V3.7z" />
    <path d="m5.8 8 1.6 1.6 3-3.2" />
  </>,
);

export function Logo({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" fill="var(--accent)" />
      <path d="M8 23 16 8l8 15" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" strokeLinejoin="round" />
      <circle cx="16" cy="20" r="2.4" fill="#fff" />
    </svg>
  );
}
export const DocsIcon = icon(<path d="M4 2.5h8v11H4zM6.2 5.5h3.6M6.2 8h3.6M6.2 10.5h2" />);
export const DashboardIcon = icon(<path d="M2.5 2.5h4.500v5.500h-4.500zM9 2.5h4.500v3h-4.500zM9 7.500h4.500v6h-4.500zM2.5 10h4.500v3.500h-4.500z" />);
export const AlertsIcon = icon(<path d="M4 11V7.500a4 4 0 0 1 8 0V11l1.200 1.500H2.800zM6.700 14h2.600" />);
export const CostIcon = icon(<path d="M8 1.8v12.400M11 4.600C10.400 3.700 9.300 3.300 8 3.300c-1.700 0-3 .8-3 2.200 0 3.200 6 1.600 6 4.900 0 1.500-1.300 2.300-3 2.300-1.400 0-2.600-.5-3.200-1.500" />);
export const HealthIcon = icon(<path d="M1.500 8.500h3l1.500-5 3.500 9.500 2-4.500h3" />);
export const ChangesIcon = icon(<path d="M8 14V5M4.500 8 8 4.500 11.500 8M3 2h10" />);
export const SkillIcon = icon(<path d="M8 4.2C6.600 3 4.500 2.700 2 2.800v9.600c2.500-.1 4.600.2 6 1.400 1.400-1.200 3.500-1.500 6-1.400V2.800c-2.500-.1-4.600.2-6 1.400ZM8 4.200v9.600" />);
export const RunbookIcon = icon(<path d="M3.500 2.500h9v11h-9zM5.800 5.600l.8.800 1.300-1.500M9.600 5.800h1M5.800 9.900l.8.800 1.300-1.500M9.600 10.100h1" />);
